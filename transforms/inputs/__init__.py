"""Which images there are: each kind of input, listed as `ImageRef`s."""

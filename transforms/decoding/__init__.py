"""From the bytes of an image file to pixels, in processes of its own."""

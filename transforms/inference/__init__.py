"""From pixels to features: models, and the engines that run them."""

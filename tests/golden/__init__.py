"""Numbers of the bundled study that should stay what they are, and the script that writes them."""

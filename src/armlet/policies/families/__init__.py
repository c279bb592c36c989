"""armlet's own kinds of policies, as the registry finds them."""

"""A small detector of people: pictures with boxes, a network, its training, and its bundle."""

"""What is trained, in which stages, by which losses: one file reads like one paper's algorithm."""

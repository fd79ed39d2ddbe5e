"""How fast the desk's pages come with very much in the tables."""

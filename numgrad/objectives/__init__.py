"""The kinds of objective: how f is evaluated next to a point, a module a kind."""

"""How one trial is carried out: its process, its actions, its place on a machine."""

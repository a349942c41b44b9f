"""How one trial is carried out: the process, the actions and the place of a trial on a machine."""

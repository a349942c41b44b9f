"""The claims of the paper, each judged by what a run has measured."""

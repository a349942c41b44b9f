"""Whether results, a machine and a plug-in can be relied on."""

"""Checks of results, of a machine and of plug-ins: can they be relied on?"""

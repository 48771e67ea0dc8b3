"""The API itself: refusals, parameter checks, rights, and the table of calls. Nothing here touches the machine."""

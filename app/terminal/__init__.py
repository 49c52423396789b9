"""`wick chat`: the chats of the page in a terminal, through a running server or without one."""

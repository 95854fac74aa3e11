"""How a chunk joins the running plan, one family a file."""

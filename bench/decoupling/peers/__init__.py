"""Other projects' chunk execution, their own classes driven on the lab's clock."""

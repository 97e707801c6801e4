"""Reading what is checked: bytes to text, notebooks to cells, text to trees, nodes to places."""

"""Exported programs (`torch.export`): read, checked and run without the code that made them."""

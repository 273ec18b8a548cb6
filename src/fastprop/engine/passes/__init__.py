"""What is done to a draft: made smaller and faster, and put in order."""

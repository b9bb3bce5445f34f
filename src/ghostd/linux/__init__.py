"""Names kernel calls. No policy in here, and no knowledge of ghostd: each file says what one part of Linux does."""

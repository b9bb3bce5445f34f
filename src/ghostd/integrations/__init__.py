"""MEETS OTHERS: one file a third party, which is imported only there and only when it is used."""

"""Guarded models in other libraries' hands: one module for each library, imported only when it is used."""

"""The routes: each reads a request, calls one service, renders the answer."""

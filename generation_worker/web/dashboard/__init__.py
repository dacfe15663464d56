"""The dashboard: the fleet, its jobs and its money as pages for people, who sign in with a key of the API.

Pages are made here, whole, and work without scripts; with scripts they show anew what has changed. What a page does
goes through the same desks as the API's routes.
"""

"""The grammar of requests, judged by PostgREST itself: see README.md."""

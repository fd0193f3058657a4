"""One bundle through two OCI runtimes: what the process inside sees, and what is left outside.

``bundles`` and the ``cases_*`` files are the table of bundles, ``views`` runs one of them and reads
what ``view.c`` printed, ``differences`` says where newroot is meant to be unlike a peer, and why.
"""

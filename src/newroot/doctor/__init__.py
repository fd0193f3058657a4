"""``newroot doctor``: is everything whole, what can be mended, and what does this host offer.

    check.py     a check, what it finds, and the table's one loop
    blobs.py     index, manifests, configs, layers' blobs: read whole, digest by digest
    layers.py    unpacked layers, compared with their blobs file by file
    leavings.py  what nobody names any more, and half-made containers
    host.py      kernel features by trying them, cgroups, disk

The table of all checks is ``newroot.doctor.table.CHECKS``; a new one is a function and a row there.
"""

"""The heart: what will be done to start a container, as data.

``steps`` says what there is to do, ``order`` in which order it may be done, ``encode`` how it goes
to newroot-init, ``shell`` how a person would do it with util-linux, ``launcher`` hands it over and
``report`` reads what came back.  This room knows steps and plans, and nothing of containers.
"""

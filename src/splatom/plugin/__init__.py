"""The napari plugin: the only room that knows napari and Qt.

Methods, jobs and files know nothing of it; the docks start jobs and show what comes back (:mod:`.session`).
"""

"""What a ports tree needs of kpatch: the steps of a build, and the files that call them.

``build`` decides what happens to a module during a build, ``locate`` finds it there. ``tree``
surveys a ports tree for what would make the hook silently do nothing, ``place`` writes the
hook files and takes them away again, ``guide`` says what the user has to do.
"""

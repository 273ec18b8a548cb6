"""Of unit.pyx: what results of an outer trace are inside of a trace."""

cdef Link* captured(PyObject* trace, Link* link) except NULL:
    """The same number in a trace: a result of an outer one is an input here."""
    if link.tape == NULL or link.tape == trace:
        return link
    if not nodes_of(link.tape).tracing:
        refuse_outside()
    key = key_of(<Trace>link.tape, link.slot)
    unit = (<Trace>trace).stand_ins.get(key)
    if unit is None:
        make_room(trace, 0)
        unit = owned(append(trace, INPUT, NONE, NONE, 0.0, 0.0, link.value))
        (<Trace>trace).stand_ins[key] = unit
    elif type(unit) is int:
        unit = pin(trace, unit)
        (<Trace>trace).stand_ins[key] = unit
    return &(<Unit>unit).link


cdef inline Link* inward(Link* link) except NULL:
    """The same number in the trace that is recording, if that keeps to itself what it computes of outside results."""
    if link.tape == NULL or not nodes_of(link.tape).tracing:
        return link
    return captured(inward_home(link.tape), link)

    workgroupBarrier();
    let place = group.x * KEPT + 4u * thread;
    if (thread < KEPT / 4u && place < FF) {
        emit_quad(thread, 24u * (slot * (FF / 64u)), place);
    }

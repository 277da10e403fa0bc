    workgroupBarrier();
    let place = stretch * SHARED_KEPT + 4u * thread;
    if (thread < SHARED_KEPT / 4u && place < FF) {
        emit_quad(thread, 24u * (USED * (FF / 64u)), place);
    }

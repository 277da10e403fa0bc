    for (var i = thread; i < KEPT / 4u * R; i += WG) {
        let place = stretch * KEPT + 4u * (i % (KEPT / 4u));
        if (place < FF) {
            emit_quad(i, 24u * ((ROWS * USED + row_of(i / (KEPT / 4u))) * (FF / 64u)), place);
        }
    }

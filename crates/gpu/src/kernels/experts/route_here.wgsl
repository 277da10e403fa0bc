choose(slot / USED, bitcast<f32>(SCALE_BITS), thread);
    let route = chosen[slot % USED];
    if (group.x == 0u && thread == 0u) {
        routes[slot] = route;
    }

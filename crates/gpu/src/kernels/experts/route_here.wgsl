choose(slot / USED, args.scale, thread);
    let route = chosen[slot % USED];
    if (group.x == 0u && thread == 0u) {
        routes[slot] = route;
    }

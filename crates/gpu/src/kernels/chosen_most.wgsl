// The largest value of all CHOOSERS = WG threads.
fn chosen_most(value: f32, thread: u32) -> f32 {
    return wg_max(value, thread);
}

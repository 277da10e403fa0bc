// 1, which no compiler can know: a loop whose bound it is part of stays a loop. A kernel's code comes cold from memory each time that it runs, since
// weights drive it out of the caches, and that takes longer than executing it (docs/performance.md).
var<private> once: u32;

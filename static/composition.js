// Keys that an input method takes are for no handler of ours. Safari ends the composition before it
// sends the Enter that ended it, which then says only by its old code that it was taken.

addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
}, true);

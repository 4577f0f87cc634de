"use strict";
// Before anything is painted: the look that was chosen, if one was.
try {
  const chosen = localStorage.getItem("panda-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch (refused) { /* a browser that keeps nothing follows the system */ }

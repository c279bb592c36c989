// Tells the page whether somebody looks: nobody does at a tab behind others. emitEvent is NiceGUI's.
"use strict";
document.addEventListener("visibilitychange", () => emitEvent("armlet_visible", !document.hidden));

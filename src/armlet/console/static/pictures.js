// Shows cameras' newest pictures in <figure data-camera="name">, and nothing while nobody looks.
"use strict";
(() => {
  const LOOK_MS = 500, AGAIN_MS = 1000;
  let socket = null, asked = "", notBefore = 0;

  const figures = () => [...document.querySelectorAll("figure[data-camera]")];
  const fixed = (value, digits) => value === null ? "–" : value.toFixed(digits);

  function caption(figure, header) {
    const words = figure.dataset;
    figure.querySelector("[data-of=rate]").textContent = fixed(header.rate_hz, 1) + " Hz";
    figure.querySelector("[data-of=age]").textContent = words.age + " " + fixed(header.age_s * 1000, 0) + " ms";
    const skew = header.skew_s === null ? null : header.skew_s * 1000;
    figure.querySelector("[data-of=skew]").textContent = words.skew + " " + fixed(skew, 1) + " ms";
  }

  async function show(message, from) {
    const bytes = new Uint8Array(message.data);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(1, 1 + bytes[0])));
    const figure = figures().find((each) => each.dataset.camera === header.camera);
    if (figure) {
      const image = figure.querySelector("img");
      const before = image.src;
      image.src = URL.createObjectURL(new Blob([bytes.subarray(1 + bytes[0])], { type: "image/jpeg" }));
      // What does not decode is left; the next may.
      try { await image.decode(); } catch (error) { /* shown as it is */ }
      if (before.startsWith("blob:")) URL.revokeObjectURL(before);
      image.dataset.number = header.number;
      caption(figure, header);
    }
    if (from.readyState === WebSocket.OPEN) from.send(header.camera);
  }

  function look() {
    const names = document.hidden ? [] : figures().map((each) => each.dataset.camera);
    const wanted = names.map((name) => "camera=" + encodeURIComponent(name)).join("&");
    if (socket && (wanted !== asked || socket.readyState === WebSocket.CLOSED)) {
      socket.close();
      socket = null;
    }
    if (wanted && !socket && Date.now() > notBefore) {
      notBefore = Date.now() + AGAIN_MS;
      asked = wanted;
      const scheme = location.protocol === "https:" ? "wss://" : "ws://";
      const opened = socket = new WebSocket(scheme + location.host + "/pictures?" + wanted);
      opened.binaryType = "arraybuffer";
      opened.onmessage = (message) => show(message, opened);
    }
  }

  setInterval(look, LOOK_MS);
  document.addEventListener("visibilitychange", look);
})();

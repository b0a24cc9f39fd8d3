// Play a sentence by a click on it or on its place in a lane, and show where the player is.
"use strict";
const player = document.querySelector("audio");
const map = document.querySelector(".map");
const lines = [...document.querySelectorAll(".lines li")];
let end = Infinity; // seconds: of the sentence that was clicked

function play(from, to) {
  end = to;
  player.currentTime = from;
  player.play();
}

function follow() {
  const now = player.currentTime;
  if (now >= end) {
    player.pause();
    end = Infinity;
  }
  const needle = map.querySelector(".needle");
  needle.hidden = false;
  needle.style.left = `${(100 * now) / Number(map.dataset.seconds)}%`;
  for (const line of lines) {
    line.classList.toggle("now", Number(line.dataset.start) <= now && now < Number(line.dataset.end));
  }
  if (!player.paused) requestAnimationFrame(follow);
}

if (player) {
  player.addEventListener("play", follow);
  player.addEventListener("seeked", follow);
  document.querySelector(".lines").addEventListener("click", (event) => {
    const line = event.target.closest("li");
    if (line && getSelection().isCollapsed) play(Number(line.dataset.start), Number(line.dataset.end));
  });
  map.addEventListener("click", (event) => {
    const box = map.getBoundingClientRect();
    play(((event.clientX - box.left) / box.width) * Number(map.dataset.seconds), Infinity);
  });
}

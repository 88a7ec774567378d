// The 68 points of a face as the networks see them: coloured lines on black, the same as raytalk/faces/draw.py.

const LINES = [
  [0, 16, false, "#00c800"], [17, 21, false, "#ff9600"], [22, 26, false, "#ffe600"], [27, 30, false, "#2a83ff"], [31, 35, false, "#00dcff"],
  [36, 41, true, "#ff2a2a"], [42, 47, true, "#ff2ab0"], [48, 59, true, "#b050ff"], [60, 67, true, "#ffffff"],
]; // first, last, closed, colour

/** points: [[x, y] * 68]; view: the square {x, y, side} of their picture that is shown. */
export function drawFace(canvas, points, view) {
  const pen = canvas.getContext("2d");
  const scale = canvas.width / view.side;
  pen.fillStyle = "#0d1012";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = Math.max(1.5, canvas.width / 90);
  pen.lineCap = pen.lineJoin = "round";
  for (const [first, last, closed, colour] of LINES) {
    pen.beginPath();
    for (let i = first; i <= last; i++) pen.lineTo((points[i][0] - view.x) * scale, (points[i][1] - view.y) * scale);
    if (closed) pen.closePath();
    pen.strokeStyle = colour;
    pen.stroke();
  }
}

let sample = null;

/** The motion that comes with the page: {fps, size, frames}, and as `view` the square in which it happens. */
export function sampleTrack() {
  sample ??= fetch(new URL("sample.json", import.meta.url)).then(async (answer) => {
    if (!answer.ok) throw new Error("The sample motion is missing on this service.");
    const track = await answer.json();
    return { ...track, view: around(track.frames.flat()) };
  });
  sample.catch(() => (sample = null));
  return sample;
}

function around(points) {
  const [low, high] = [Math.min, Math.max].map((most) => [0, 1].map((axis) => points.reduce((end, point) => most(end, point[axis]), points[0][axis])));
  const side = 1.3 * Math.max(high[0] - low[0], high[1] - low[1]);
  return { x: (low[0] + high[0] - side) / 2, y: (low[1] + high[1] - side) / 2, side };
}

/** Which frame of the track is on at a time in seconds: round and round. */
export const frameAt = (track, seconds) => track.frames[Math.floor(seconds * track.fps) % track.frames.length];

/** Play the sample in a canvas; returns a function that stops it. */
export function playSample(canvas, track) {
  const began = performance.now();
  let handle = 0;
  const turn = (now) => {
    drawFace(canvas, frameAt(track, Math.max(0, now - began) / 1000), track.view);
    handle = requestAnimationFrame(turn);
  };
  handle = requestAnimationFrame(turn);
  return () => cancelAnimationFrame(handle);
}

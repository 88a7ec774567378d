// Recording what is shown. The browser encodes anew, so that no signature survives; therefore a mark is drawn into every picture.

const SIDE = 512;
const KINDS = [["video/mp4;codecs=avc1.42E01F", "mp4"], ["video/webm;codecs=vp9", "webm"], ["video/webm;codecs=vp8", "webm"], ["video/webm", "webm"]];

export const canRecord = () => typeof MediaRecorder !== "undefined" && "captureStream" in HTMLCanvasElement.prototype;

export class Recording {
  constructor(pictures) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = this.canvas.height = SIDE;
    this.pictures = pictures;
    this.draw();
    [this.type, this.ending] = KINDS.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
    this.stream = this.canvas.captureStream(30);
    this.recorder = new MediaRecorder(this.stream, { ...(this.type && { mimeType: this.type }), videoBitsPerSecond: 2_500_000 });
    this.parts = [];
    this.recorder.ondataavailable = ({ data }) => data.size && this.parts.push(data);
    this.recorder.start(1000);
  }

  /** Take up what the canvas of the stage shows now. */
  draw() {
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.pictures, 0, 0, SIDE, SIDE);
    pen.font = "600 17px system-ui, sans-serif";
    const wide = pen.measureText("AI-generated").width;
    pen.fillStyle = "rgba(0, 0, 0, 0.6)";
    pen.fillRect(0, SIDE - 34, wide + 28, 34);
    pen.fillStyle = "#fff";
    pen.fillText("AI-generated", 14, SIDE - 11);
  }

  /** A picture of now, to show before the film is played. */
  still() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", 0.9));
  }

  /** Resolves to what was recorded. */
  stop() {
    return new Promise((resolve) => {
      this.recorder.onstop = () => {
        this.stream.getTracks().forEach((track) => track.stop());
        resolve(new Blob(this.parts, { type: this.recorder.mimeType }));
      };
      this.recorder.stop();
    });
  }
}

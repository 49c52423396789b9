// Runs beside the page's sound: samples of the microphone, a tenth of a second at a time. Not all browsers
// bring it to another rate by themselves, so that is done here, by averages.
const RATE = 16000;
const SIZE = RATE / 10;

class Microphone extends AudioWorkletProcessor {
  #samples = new Int16Array(SIZE);
  #filled = 0;
  #sum = 0;
  #count = 0;
  #due = 0; // how much of the next sample has come

  process([[channel]]) {
    for (const value of channel ?? []) {
      this.#sum += value;
      this.#count += 1;
      this.#due += RATE / sampleRate;
      if (this.#due < 1) continue;
      this.#due -= 1;
      this.#add(this.#sum / this.#count);
      this.#sum = this.#count = 0;
    }
    return true;
  }
  #add(value) {
    this.#samples[this.#filled] = Math.max(-1, Math.min(1, value)) * 32767;
    this.#filled += 1;
    if (this.#filled < SIZE) return;
    this.port.postMessage(this.#samples.slice());
    this.#filled = 0;
  }
}
registerProcessor("microphone", Microphone);

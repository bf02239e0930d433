// Browsers start no workers in pages that are files, so there the site's search runs in a hidden frame.
class FrameWorker extends EventTarget {
  constructor(address) {
    super();
    this.onmessage = null;
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.appendChild(this.frame);
    this.inner = this.frame.contentWindow;
    this.inner.answer = (data) => {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      if (this.onmessage) this.onmessage(event);
    };
    this.ready = new Promise((resolve) => {
      this.inner.isReady = resolve;
    });
    const page = this.inner.document;
    page.open();
    page.write(
      "<script>" +
        "postMessage = (data) => answer(data);" +
        "importScripts = (...addresses) => addresses.reduce((before, address) => before.then(() =>" +
        "  new Promise((resolve, reject) => {" +
        "    const script = document.createElement('script');" +
        "    script.src = address; script.onload = resolve; script.onerror = reject;" +
        "    document.head.appendChild(script);" +
        "  })), Promise.resolve());" +
        "</" + "script>" +
        `<script src="${encodeURI(address)}" onload="isReady()"></` + "script>"
    );
    page.close();
  }

  postMessage(data) {
    this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
  }

  terminate() {
    this.frame.remove();
  }
}

if (location.protocol === "file:") window.Worker = FrameWorker;

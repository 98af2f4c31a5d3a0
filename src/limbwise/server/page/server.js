// Asking the server, with a token where it wants one.

const KEY = "limbwise.token";
const $ = (id) => document.getElementById(id);

// An error whose message is shown to the user as it is.
export class Refusal extends Error {}

function credentials() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...options.headers, ...credentials() } });
  } catch {
    throw new Refusal("The server cannot be reached. Is it still running?");
  }
  if (answer.status === 401) {
    await askForToken();
    return ask(path, options);
  }
  if (answer.ok) return answer.json();
  const { error = "" } = await answer.json().catch(() => ({}));
  const texts = {
    413: "This picture is too large for the server. Try a smaller one.",
    415: "This is not a picture that can be read. Try a JPEG or PNG.",
    422: "This is not a picture that can be read. Try a JPEG or PNG.",
    503: "The server is busy. Try again in a moment.",
  };
  throw new Refusal(texts[answer.status] ?? `That did not work: ${error || answer.status}`);
}

function askForToken() {
  const door = $("door");
  $("door-problem").textContent = sessionStorage.getItem(KEY) ? "That token was not accepted." : "";
  $("token").value = "";
  door.showModal();
  return new Promise((done, fail) => {
    door.onclose = () => {
      if (!$("token").value) return fail(new Refusal("This server asks for a token. Reload the page to enter it."));
      sessionStorage.setItem(KEY, $("token").value.replace(/[^!-~]/g, "?"));  // others cannot be sent
      done();
    };
  });
}

export function streamAddress() {
  const address = new URL("v1/stream", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address;
}

// The token as a subprotocol, in base64url: a browser lets a page send it in no other way.
export function protocols() {
  const token = sessionStorage.getItem(KEY);
  if (!token) return ["limbwise"];
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  return ["limbwise", "bearer." + btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")];
}

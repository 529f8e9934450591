// The app around a client, the same for every client: the user chooses a file, and may press "Try again".

/**
 * `client` has `begin(file, isAgain)`: sends the file, or continues after a reload; and `retry(file)`: the user presses
 * "Try again". They report through `outcome`: the end of the upload, or a failure.
 * @param {(settings: any, outcome: { done: (url: string) => void, failed: (error: unknown) => void }) => { begin: Function, retry: Function }} create
 */
export function app(create) {
  let chosen;
  let client;
  const input = document.querySelector("input");
  const outcome = {
    done: (url) => void (window.outcome = { url }),
    failed: (error) => void (window.outcome = { failure: String(error?.message ?? error) }),
  };
  const act = (action) => {
    window.outcome = undefined;
    Promise.resolve().then(action).catch(outcome.failed);
  };
  window.openClient = async (settings) => {
    client = await create(settings, outcome);
    input.addEventListener("change", () => {
      [chosen] = input.files;
      act(() => client.begin(chosen, settings.isAgain));
    });
  };
  window.retry = () => act(() => client.retry(chosen));
}

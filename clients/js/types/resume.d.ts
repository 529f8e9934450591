/** Records in memory, until the page or the process ends. @returns {UploadStore} */
export function memoryStore(): UploadStore;
/** The store of uploads without the option `store`: `localStore` where there is a `localStorage`, memory elsewhere. */
export function defaultStore(): UploadStore;
/**
 * Removes the records of this owner's uploads that are missing from the server's list.
 * @param {UploadStore} store
 * @param {{ uploadIds: Set<string>, owner: string, listedAt: number }} list the listed uploads, their owner, and when
 *   the list was requested, in Unix milliseconds
 */
export function removeStale(store: UploadStore, { uploadIds, owner, listedAt }: {
    uploadIds: Set<string>;
    owner: string;
    listedAt: number;
}): Promise<void>;
/**
 * Identifies a file wherever it is stored and whatever its name is: a hash of its length and samples of its bytes; its
 * name and date if the page has no cryptography.
 * @param {Blob & { name?: string, lastModified?: number }} file
 */
export function fingerprint(file: Blob & {
    name?: string;
    lastModified?: number;
}): Promise<string>;
/** The SHA-256 of a file in base64. @param {Blob} file */
export function sha256Of(file: Blob): Promise<string>;
/**
 * Locks an upload until the returned function is called or the tab closes; undefined while another tab, or another
 * upload of this page, has the lock.
 * @param {string} uploadId
 * @returns {Promise<(() => void) | undefined>}
 */
export function lockUpload(uploadId: string): Promise<(() => void) | undefined>;
/** Whether any tab is sending an upload, as a function of its id. @returns {Promise<(uploadId: string) => boolean>} */
export function lockedUploads(): Promise<(uploadId: string) => boolean>;
/**
 * Records in the browser's `localStorage`. It may be full or disabled: then nothing is recorded.
 * @type {UploadStore & { list(): PendingUpload[], clearNames(): void }}
 */
export const localStore: UploadStore & {
    list(): PendingUpload[];
    clearNames(): void;
};
/**
 * an unfinished upload in parts
 */
export type PendingUpload = {
    /**
     * the upload's id
     */
    uploadId: string;
    /**
     * the key of the upload
     */
    key: string;
    /**
     * the file's name; null after `clearNames`
     */
    name: string | null;
    /**
     * the file's length in bytes
     */
    size: number;
    /**
     * the file's fingerprint
     */
    fingerprint: string;
    /**
     * when it was started, in Unix milliseconds
     */
    startedAt: number;
    /**
     * the origin of the deployment
     */
    url?: string | undefined;
};
/**
 * Where unfinished uploads are recorded. Each function may return a promise.
 */
export type UploadStore = {
    /**
     * all records
     */
    list: () => PendingUpload[] | Promise<PendingUpload[]>;
    /**
     * adds a record, or replaces that of the same `uploadId`
     */
    save: (upload: PendingUpload) => void | Promise<void>;
    /**
     * removes a record, if there is one
     */
    remove: (uploadId: string) => void | Promise<void>;
};

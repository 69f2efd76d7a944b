/* The offsets at the start of the image, in their order; nexus.S writes them. */
#ifndef IMAGE_HEADER_H
#define IMAGE_HEADER_H

#ifdef SAMPLE_OTHER_SWITCH
enum { HEADER_EXIT_END, HEADER_EXEC, HEADER_PAGE_END, HEADER_ENTRY, HEADER_ENTRY_END, HEADER_INTERRUPTS };
#else
enum { HEADER_ENTRY, HEADER_INTERRUPTS, HEADER_ENTRY_END, HEADER_EXIT_END, HEADER_EXEC };
#endif

#endif
